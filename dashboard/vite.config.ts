/// <reference types="vitest/config" />
import { defineConfig } from 'vite';

// Nothing inline, nothing from elsewhere, and the same bytes from the same sources: the output is committed, and CI
// builds it again to compare.
export default defineConfig({
  base: '/',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    target: 'es2022',
    outDir: 'dist',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  worker: { format: 'es' },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
});
