import { render } from 'preact';
import './app/theme';
import './style.css';
import 'uplot/dist/uPlot.min.css';
import { App } from './views/app';

const page = document.getElementById('page');
if (page) render(<App />, page);
