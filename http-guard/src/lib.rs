//! http-guard: rate limits and filters for HTTP, decided in the stack.
