// Before the first paint, so that a dark page never flashes white.
try {
  document.documentElement.dataset.theme = localStorage.getItem('theme') ?? 'auto';
} catch { /* without storage it is the system's */ }
