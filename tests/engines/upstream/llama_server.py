"""llama.cpp's own HTTP server as a command: `python llama_server.py MODEL PORT [SETTING=VALUE …]`.

The wheel `xllamacpp` holds the server but no executable; this starts it and waits for a signal.
"""

import signal
import sys

import xllamacpp


def main(arguments):
    params = xllamacpp.CommonParams()
    params.model.path, params.port = arguments[0], int(arguments[1])
    params.n_gpu_layers, params.warmup = 0, False
    params.n_parallel, params.n_ctx = 2, 16384
    params.endpoint_metrics = params.endpoint_slots = True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    for setting in arguments[2:]:
        name, _, value = setting.partition("=")
        setattr(params, name, type(getattr(params, name))(int(value)))
    server = xllamacpp.Server(params)
    print("listening on", server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    main(sys.argv[1:])
