# The command phsa, from this checkout, for a user without rights.
#
#   docker build --tag phsa .                    on the host: TensorFlow.js
#   docker build --tag phsa --target cuda .      on NVIDIA GPUs, Ampere and later; run it with --gpus all
#   docker run --read-only --publish 127.0.0.1:8000:8000 --volume "$PWD/my-model:/models:ro" --volume "$PWD/keys.txt:/keys/keys.txt:ro" \
#     phsa serve --model /models --host 0.0.0.0 --api-key-file /keys/keys.txt

FROM node:22-slim AS packages
WORKDIR /source
COPY . .
RUN npm ci --no-audit --no-fund && npm run build
RUN mkdir /packed && npm pack --workspaces --ignore-scripts --pack-destination /packed

FROM node:22-slim AS installed
WORKDIR /app
COPY --from=packages /packed /packed
RUN npm install --no-audit --no-fund /packed/*.tgz && rm -r /packed

# Kernels for all GPUs; nvcc needs no GPU.
FROM nvidia/cuda:13.0.1-devel-ubuntu24.04 AS kernels
COPY --from=packages /usr/local/bin/node /usr/local/bin/node
COPY --from=packages /source /source
RUN cd /source/packages/kernels-cuda && node scripts/build-kernels.mjs --release --required

FROM node:22-slim AS base
ENV NODE_ENV=production
WORKDIR /app
USER node
EXPOSE 8000
# Of `phsa serve` on its usual port; the first answer comes when the weights are read.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m --start-interval=2s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8000/health/live').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
# Node itself is process 1, so that SIGTERM reaches it.
ENTRYPOINT ["node", "/app/node_modules/phsa/bin/phsa.js"]
CMD ["--help"]

FROM base AS cuda
COPY --from=installed /app /app
COPY --from=kernels /source/packages/kernels-cuda/dist /app/node_modules/@phsa/kernels-cuda/dist
COPY --from=kernels /usr/local/cuda/lib64/libcublasLt.so.13* /usr/local/cuda/lib64/libcublas.so.13* /usr/local/cuda/lib64/

FROM base AS host
COPY --from=installed /app /app
