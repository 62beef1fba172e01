"""Pages that show what runs did: ``report.html`` of one, a comparison of several; each one file that needs no network.

nogan report RUN_DIR
nogan compare RUN_DIR... -o compare.html
"""

from nogan.report.run_page import write_report

__all__ = ["write_report"]
