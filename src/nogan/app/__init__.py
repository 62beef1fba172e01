"""The page of ``nogan app``: photographs and film in a browser, for people who will not type commands.

- ``models``: what one may choose, and what stays loaded
- ``settings``: what a person sets, as the options of the command
- ``studio``: albums, their files and tasks, and the threads that do them; no gradio, no server
- ``shown``: what a browser can show of a photograph or a film
- ``server``: addresses for files, uploads and progress, and who may ask for them
- ``page``: the controls, by gradio; ``static/`` has the style and the script

Everything is colorized by :func:`nogan.colorize.batch.colorize_files`, the function behind ``nogan colorize``, so that
the page gives the same files to the byte.
"""
