"""SVG-FP in PyTorch: what this project is compared with. Nothing outside imports it.

Written from the paper (Denton & Fergus 2018, section 4 and appendix) and checked against the
authors' code, https://github.com/edenton/svg; needs benchmarks/requirements.txt alone.
"""
