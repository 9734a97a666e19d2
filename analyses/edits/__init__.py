"""Changing a fact after training: does the composition follow?"""
