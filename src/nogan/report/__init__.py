"""Pages that show what runs did: the report of one run, the comparison of several. Each is one file without links.

nogan report RUN_DIR
nogan compare RUN_DIR... -o compare.html
"""

from nogan.report.run_page import write_report

__all__ = ["write_report"]
