"""Prints the names of the account's S3 buckets."""

import boto3


def main() -> None:
    # Finds Region and credentials by the environment: `dockermgr run --pass tes` filled it.
    for bucket in boto3.client("s3").list_buckets()["Buckets"]:
        print(bucket["Name"], flush=True)


if __name__ == "__main__":
    main()
