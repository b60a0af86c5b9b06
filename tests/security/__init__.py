"""What somebody hostile can arrange, and what must hold all the same: keys stay home, files land where they belong.

It mirrors no package: each module takes the whole program, as people run it.
"""
