"""What goes wrong in the field, put between a real engine and a real registry.

`tcp` breaks connections, `https` breaks what a registry says over whole ones, `certificates` breaks
trust, `disk` is a small one. A test asks the device for them (`Device.put_between` and so on), and
the device's `reset` takes them away.
"""
