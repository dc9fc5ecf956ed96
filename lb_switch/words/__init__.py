"""The sentences: what the engine's closed lists mean, in the words of one language.

The engine tells rules, causes and facts; views put them into the sentences that stand in `english`.
Another language is one more file with the same functions.  Nothing here knows a view, and nobody
reads a sentence to learn what happened.
"""
