"""The public face: gRPC and REST on the outside, one TorchServe on loopback inside."""
