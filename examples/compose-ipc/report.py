"""Asks a web server how it does, and publishes the answer on a local topic."""

import os
import time
import urllib.error
import urllib.request

from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
from awsiot.greengrasscoreipc.model import JsonMessage, PublishMessage

TOPIC = "example/web"
INTERVAL_SECONDS = 10


def status(url: str) -> int:
    """The HTTP status; 0 when there is no answer."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def main() -> None:
    client = GreengrassCoreIPCClientV2()
    while True:
        message = JsonMessage(message={"status": status(os.environ["URL"])})
        client.publish_to_topic(topic=TOPIC, publish_message=PublishMessage(json_message=message))
        time.sleep(INTERVAL_SECONDS)


if __name__ == "__main__":
    main()
