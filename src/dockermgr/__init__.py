"""dockermgr: a Greengrass component that gets Docker images onto core devices and keeps them there."""

__version__ = "0.1.0"
