"""The public face: gRPC and REST on the outside, one TorchServe on loopback inside."""

import os

# gRPC's core, which looks at this when it is imported, writes a line of its own for each handshake that fails: whoever
# connects could fill the log.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
