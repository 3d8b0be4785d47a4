/** Dark or light: the system's choice until somebody makes one. */

import { signal } from '@preact/signals';

export type Theme = 'system' | 'light' | 'dark';
const KEY = 'towline.theme';

function kept(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return value === 'light' || value === 'dark' ? value : 'system';
  } catch {
    return 'system';
  }
}

export const theme = signal<Theme>(kept());

function apply(): void {
  if (theme.value === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
}

export function choose(next: Theme): void {
  theme.value = next;
  apply();
  try {
    if (next === 'system') localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
  } catch {
    // It holds for this page.
  }
}

export const isDark = () =>
  theme.value === 'dark' || (theme.value === 'system' && matchMedia('(prefers-color-scheme: dark)').matches);

apply();
