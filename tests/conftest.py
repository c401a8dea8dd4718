"""What holds for all tests: properties are judged by what they find, never by how fast a busy machine finds it."""

from hypothesis import HealthCheck, settings

settings.register_profile("spendgate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("spendgate")
