"""Files: capture files that are read and written, and files of root's where others may be.

`pcap` is the door to both capture formats, `pcapng` the other one, `record` what they hold, `link`
their link-layer headers; `private_file` opens and locks what nobody else may touch.  No packet is
judged here.
"""
