"""Measurements of this package; `python -m benchmarks.NAME`, in the environment that the command gives itself."""

from mvc.environment import prepare

prepare()
