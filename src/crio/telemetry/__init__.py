"""What the daemon tells about itself: metrics for Prometheus, and traces.

- `metric` has counters, gauges, histograms and summaries; `metrics` the ones this daemon has; `text` writes them in
  the format that Prometheus reads; `server` serves them.
- `trace` has spans, of which the last ones are kept for `crioctl trace`; `otlp` is their form for a collector, and
  `export` sends them there.

It knows nothing of pods or images: rooms above are handed a `Metrics` and a `Tracer` and say what happened. Pod metrics
of the CRI are not here but in stats/.
"""
