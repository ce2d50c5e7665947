"""The run report: one HTML page about a finished run, made from its receipt, its batches and a few of its rows.

The page needs nothing but itself: no script, no font, no request. Rows and answers are hostile text: everything is
escaped, control characters are shown rather than sent, and a content security policy forbids whatever is left.
"""

from tasks.stages.report.page.batches import BatchView
from tasks.stages.report.page.render import render_page
from tasks.stages.report.page.samples import Sample, columns_to_show, find_samples

__all__ = ["BatchView", "Sample", "columns_to_show", "find_samples", "render_page"]
