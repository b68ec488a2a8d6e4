"""The probes, one file each; `study.py` says how one is added."""
