// Numbers and times as people read them. Pure.

const whole = new Intl.NumberFormat('en', {maximumFractionDigits: 0});
const clock = new Intl.DateTimeFormat('en-GB', {hour: '2-digit', minute: '2-digit', second: '2-digit'});
const day = new Intl.DateTimeFormat('en-GB', {year: 'numeric', month: '2-digit', day: '2-digit'});

export const count = (n) => (n == null ? '–' : whole.format(n));

/** 1,234 or 12.3 k or 4.56 M. */
export function short(n) {
  if (n == null) return '–';
  for (const [unit, of] of [['G', 1e9], ['M', 1e6], ['k', 1e4]]) {
    if (n >= of) {
      const scaled = n / (unit === 'k' ? 1e3 : of);
      return `${scaled.toFixed(scaled < 10 ? 2 : scaled < 100 ? 1 : 0)} ${unit}`;
    }
  }
  return n < 10 && n % 1 ? n.toFixed(1) : whole.format(n);
}

export const rate = (n) => (n == null ? '–' : `${short(n)}/s`);

export function bytes(n) {
  if (n == null) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit += 1;
  }
  return `${unit && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}

/** Of seconds: 85 µs, 1.2 ms, 3.4 s. */
export function latency(seconds) {
  if (seconds == null) return '–';
  if (seconds < 1e-3) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toFixed(seconds < 1e-2 ? 2 : seconds < 0.1 ? 1 : 0)} ms`;
  return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
}

/** Of seconds, longer ones: 12 s, 3 min, 2 h 5 min, 4 d. */
export function duration(seconds) {
  if (seconds == null) return '–';
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h${minutes % 60 ? ` ${minutes % 60} min` : ''}`;
  return `${Math.floor(hours / 24)} d`;
}

export const percent = (share) => (share == null ? '–' : `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`);

export function time(value) {
  const date = value instanceof Date ? value : new Date(typeof value === 'number' ? value * 1000 : value);
  return Number.isNaN(date.getTime()) ? '–' : clock.format(date);
}

export function moment(value) {
  const date = new Date(typeof value === 'number' ? value * 1000 : value);
  if (Number.isNaN(date.getTime())) return '–';
  return date.toDateString() === new Date().toDateString() ? clock.format(date) : `${day.format(date)} ${clock.format(date)}`;
}

export const plural = (n, word, words = `${word}s`) => `${count(n)} ${n === 1 ? word : words}`;
