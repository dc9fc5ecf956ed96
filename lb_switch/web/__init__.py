"""The switch on a page: live in a browser, and as one file to hand out.

`scene` makes of the stream's records what the page draws, `details` what it says when a thing is
clicked; `feed` follows a running switch, `app` serves browsers, `guard` keeps others out, `lab` is
what it may do to a lab, `metrics` is for Prometheus, `single_file` puts a recording and the page
into one file.  `page/` is the page:
ES modules, as they are.  A process of its own, never that of the packets; sentences are made here,
not in the page.
"""
