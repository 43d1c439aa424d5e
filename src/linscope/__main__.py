"""python -m linscope"""

from linscope.cli import main

main()
