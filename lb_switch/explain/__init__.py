"""Views of what the switch does: stories, diffs, ladders, annotated captures, comparisons."""
