-- wrk: POST one image over and over; the figures as one line of JSON, times in microseconds.
local file = assert(io.open(os.getenv("IMAGE"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["content-type"] = "application/octet-stream"
file:close()

function done(summary, latency)
   local errors = summary.errors
   print(string.format('{"requests": %d, "duration": %d, "p50": %d, "p99": %d, "errors": %d}',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
