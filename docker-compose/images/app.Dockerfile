# The services, the init steps and the demo: one image for what runs all the time, one with the stores' clients for init.
ARG NODE_IMAGE=node:24-trixie-slim
ARG MC_IMAGE=docker.io/pgsty/mc:RELEASE.2026-09-16T00-00-00Z

FROM ${MC_IMAGE} AS mc

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /opt/av-scan/app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM ${NODE_IMAGE} AS app
# The folders that volumes are mounted on: a new volume takes their owner.
RUN mkdir -p /opt/av-scan/app /opt/av-scan/certs /scan && chown node:node /scan && chmod 700 /scan
WORKDIR /opt/av-scan/app
COPY --from=dependencies /opt/av-scan/app/node_modules node_modules
COPY package.json ./
COPY services services
ENV NODE_ENV=production
USER node
ENTRYPOINT ["node"]

FROM app AS init
# The second name exists only where the store's image brings VersityGW, whose admin command it is.
COPY --from=mc /usr/bin/mc /usr/bin/versityg[w] /usr/local/bin/
