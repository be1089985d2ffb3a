"""Tests of the IPC test double, with the real client of the AWS IoT SDK and with bytes."""
