"""The blocks of `bench.gpu_report`: each measures one thing and needs no other."""
