"""The report: tables, figures and one self-contained page, a pure function of a study folder."""

from capsulegan.report.page import write_report
from capsulegan.report.table import Table, to_markdown
from capsulegan.report.tables import tables_of

__all__ = ["Table", "tables_of", "to_markdown", "write_report"]
