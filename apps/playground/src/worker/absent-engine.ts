// Stands for the engines of TensorFlow.js that this page never asks for (vite.config.ts).
throw new Error('This engine of TensorFlow.js is not part of the page.')
