"""The reactive runtime: wake-ups in, handlings out. It knows no bridge."""
