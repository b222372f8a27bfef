"""Telling one hypothesis from another: significances along a line, in a plane, and under wrong nuisances."""
