// What every file here is written with: components of preact, in templates of htm.
import htm from './vendor/htm.js';
import {h} from './vendor/preact.js';

export {Fragment, render} from './vendor/preact.js';
export {useEffect, useLayoutEffect, useMemo, useRef, useState} from './vendor/hooks.js';
export const html = htm.bind(h);
