# The services, the init steps and the demo: one image for what runs all the time, one with the stores' clients for init.
ARG NODE_IMAGE=node:24-trixie-slim
ARG MC_IMAGE=docker.io/pgsty/mc:RELEASE.2026-09-16T00-00-00Z

FROM ${MC_IMAGE} AS mc

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /opt/av-scan/app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM ${NODE_IMAGE} AS app
# A new volume, and with older engines a tmpfs too, takes the owner and mode of the folder it is mounted on. What a worker
# makes in there is its own alone.
RUN mkdir -p /opt/av-scan/app /opt/av-scan/certs /opt/av-scan/compile-cache /opt/av-scan/store-audit /scan && chown node:node /scan /opt/av-scan/compile-cache /opt/av-scan/store-audit && chmod 1777 /scan
WORKDIR /opt/av-scan/app
COPY --from=dependencies /opt/av-scan/app/node_modules node_modules
COPY package.json ./
COPY services services
# V8 lets the young generation, and glibc an arena for each thread, grow to more than all else that a service holds; and below a
# limit of 256 MB for the old one V8 lets a third of it be garbage instead of two thirds. The native runtime sets the same.
ENV NODE_OPTIONS="--max-semi-space-size=4 --max-old-space-size=256" MALLOC_ARENA_MAX=2
ENV NODE_ENV=production NODE_COMPILE_CACHE=/opt/av-scan/compile-cache
USER node
# A service that finds its modules in Node's compile cache, which is its user's own, holds 20 MB less: it does not load what
# strips the types. Without a configuration each ends at once, with its modules read.
RUN for service in avscan notifier reconciler store-audit; do node services/$service/main.ts --check-config >/dev/null 2>&1 || true; done
ENTRYPOINT ["node"]

FROM app AS init
# The second name exists only where the store's image brings VersityGW, whose admin command it is.
COPY --from=mc /usr/bin/mc /usr/bin/versityg[w] /usr/local/bin/
