"""The contracts of Swinserve as protobuf messages and gRPC stubs (regenerate them with `make proto`)."""

CONTRACT_VERSION = 4
"""Version of the job and answer between gateway and worker (swin_proto/worker/v1/job.proto); both sides must agree."""
