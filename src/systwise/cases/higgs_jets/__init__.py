"""Higgs + jets: a modified top Yukawa coupling and an effective gluon coupling, with a theory scale."""
