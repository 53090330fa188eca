"""One room per engine; its module `engine` has a function `open_engine(model)` that a worker process calls."""
