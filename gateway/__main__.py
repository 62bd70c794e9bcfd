"""`python -m gateway` is `situs`, for where the console script is not on the path."""

from gateway.cli import console

console()
