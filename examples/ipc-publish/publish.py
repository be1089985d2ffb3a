"""Publishes the message in the component's configuration to AWS IoT Core, again and again."""

import time

from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2


def main() -> None:
    # Finds socket and token in the environment: `dockermgr run --pass ipc` put them there.
    client = GreengrassCoreIPCClientV2()
    configuration = client.get_configuration(key_path=[]).value
    topic, message = str(configuration["topic"]), str(configuration["message"])
    # Numbers may arrive as text (nucleus lite) or with a fraction (Java).
    qos = str(int(float(configuration["qos"])))
    interval_seconds = float(configuration["intervalSeconds"])
    while True:
        client.publish_to_iot_core(topic_name=topic, qos=qos, payload=message.encode())
        print(f"published to {topic} with QoS {qos}", flush=True)
        time.sleep(interval_seconds)


if __name__ == "__main__":
    main()
