"""Privacy audits of speech models: what a gradient gives away, what protects it, and what a claimed epsilon is worth.

Data flow: a `Victim` (what the server has) and one client's batch give a `Leak` (what the server receives) and a `Truth` (what nobody but
the score card may see); an attack gets victim, leak and `Knowledge`, and returns a `Reconstruction`.
"""
