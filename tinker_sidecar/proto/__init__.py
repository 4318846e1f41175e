"""The result of a sample as protobuf, generated from `sample_response.proto`.

To regenerate, with `grpcio-tools==1.68.1` in an environment of its own (generated code runs on its
own protobuf version or any newer one, so an old compiler keeps the range wide)::

    python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. tinker_sidecar/proto/sample_response.proto
"""
