"""`python -m quintet` is the same as `quintet`."""

from quintet.cli.main import main

main()
