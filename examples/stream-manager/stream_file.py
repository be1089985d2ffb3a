"""Writes a file into the work folder and hands it to stream manager, which uploads it to S3."""

import os
from datetime import datetime, timezone
from pathlib import Path

from stream_manager import (
    ExportDefinition,
    MessageStreamDefinition,
    S3ExportTaskDefinition,
    S3ExportTaskExecutorConfig,
    StrategyOnFull,
    StreamManagerClient,
)
from stream_manager.util import Util

STREAM = "ExampleFiles"


def main() -> None:
    # The work folder: the recipe makes it the container's current one.
    file = Path("measurements.txt").resolve()
    file.write_text(f"written at {datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}\n")
    task = S3ExportTaskDefinition(
        input_url=file.as_uri(), bucket=os.environ["BUCKET"], key=f"example/{file.name}"
    )
    # Finds port and token in the environment: `dockermgr run --pass stream-manager` put them there.
    with StreamManagerClient() as client:
        if STREAM not in client.list_streams():
            client.create_message_stream(stream_definition())
        number = client.append_message(STREAM, Util.validate_and_serialize_to_json_bytes(task))
    print(f"handed over {file.name} as message {number}", flush=True)


def stream_definition() -> MessageStreamDefinition:
    return MessageStreamDefinition(
        name=STREAM,
        strategy_on_full=StrategyOnFull.OverwriteOldestData,
        export_definition=ExportDefinition(
            s3_task_executor=[S3ExportTaskExecutorConfig(identifier="ExampleUpload")]
        ),
    )


if __name__ == "__main__":
    main()
