# The packages, in an environment of their own: pip and its caches stay in this stage.
FROM python:3.12-slim AS packages
RUN python -m venv /opt/venv
COPY requirements.txt /tmp/requirements.txt
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check -r /tmp/requirements.txt
# What they are, with their versions and licences, as CycloneDX.
RUN python -m venv /opt/sbom && \
    /opt/sbom/bin/pip install --no-cache-dir --disable-pip-version-check cyclonedx-bom==7.5.0 && \
    /opt/sbom/bin/cyclonedx-py environment /opt/venv/bin/python --gather-license-texts --output-reproducible \
        --output-format JSON --output-file /opt/venv/sbom.cdx.json

FROM python:3.12-slim
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ENVIRONMENT=production \
    PORT=8000
RUN groupadd --gid 10001 edgechat && \
    useradd --uid 10001 --gid edgechat --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin edgechat
COPY --from=packages /opt/venv /opt/venv
# Pictures and uploads in progress, and backups: a new volume takes its owner from its folder.
RUN install -d -o edgechat -g edgechat -m 700 /data /backups
ENV DATA_DIR=/data
WORKDIR /srv/edgechat
COPY . .
# Collecting needs valid settings, but no store. These values exist only for this command and reach no layer.
RUN JWT_SECRET=only-while-the-image-is-built-0000000000000 \
    DATABASE_URL=postgresql://build@127.0.0.1:9/build MONGODB_URL=mongodb://127.0.0.1:9 REDIS_URL=redis://127.0.0.1:9/0 \
    sh -ec 'python manage.py collectstatic --noinput && python manage.py build_openapi'
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Any answer below 500 counts as alive, because ALLOWED_HOSTS may lack 127.0.0.1. The slim image has no curl.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); c.request('GET', '/api/v1/health'); sys.exit(c.getresponse().status >= 500)"]
# Exec form, so that gunicorn itself gets SIGTERM.
CMD ["gunicorn", "-c", "gunicorn.conf.py", "edgechat.wsgi:application"]
