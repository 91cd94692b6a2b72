// The official JavaScript client against a running API server: what its users do, with what they must see.
// Reads KUBECONFIG; fails at the first thing that is not as it should be.

import assert from 'node:assert/strict';
import * as k8s from '@kubernetes/client-node';

const namespace = 'javascript-client';
const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);

/** Resolves with what `subscribe` hands to its callback for which `wanted` holds; fails after half a minute. */
function awaited(what, subscribe, wanted) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`${what} did not come`)), 30_000);
    subscribe((value) => {
      if (wanted(value)) {
        clearTimeout(late);
        resolve(value);
      }
    }, reject);
  });
}

async function refused(code, call) {
  const error = await call.then(() => assert.fail('it was not refused'), (error) => error);
  assert.equal(error.code, code, String(error));
  return error.body;
}

function configMap(name, data) {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace }, data };
}

async function typedObjects() {
  const made = await core.createNamespacedConfigMap({ namespace, body: configMap('a', { color: 'blue' }) });
  assert.equal(made.data.color, 'blue');
  assert.ok(made.metadata.creationTimestamp instanceof Date);
  made.data.color = 'red';
  const replaced = await core.replaceNamespacedConfigMap({ name: 'a', namespace, body: made });
  assert.notEqual(replaced.metadata.resourceVersion, made.metadata.resourceVersion);
  assert.match(await refused(409, core.replaceNamespacedConfigMap({ name: 'a', namespace, body: made })), /modified/);
  const patch = [{ op: 'replace', path: '/data/color', value: 'green' }];
  const patched = await core.patchNamespacedConfigMap(
    { name: 'a', namespace, body: patch },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.JsonPatch),
  );
  assert.equal(patched.data.color, 'green');
  assert.match(await refused(404, apps.readNamespacedDeployment({ name: 'none', namespace })), /NotFound/);
}

async function anyObject() {
  await objects.create(configMap('any', { a: '1' }));
  const applied = await objects.patch(
    configMap('any', { b: '2' }), undefined, undefined, 'check', true, k8s.PatchStrategy.ServerSideApply,
  );
  assert.deepEqual(applied.data, { a: '1', b: '2' });
  const listed = await objects.list('v1', 'ConfigMap', namespace);
  assert.deepEqual(listed.items.map((item) => item.metadata.name).sort(), ['a', 'any']);
  await objects.delete(configMap('any'));
  await refused(404, objects.read(configMap('any')));
}

async function watched() {
  const watch = new k8s.Watch(config);
  const { metadata } = await core.listNamespacedConfigMap({ namespace });
  let request;
  const seen = awaited('a watch event', async (found, failed) => {
    request = await watch.watch(
      `/api/v1/namespaces/${namespace}/configmaps`,
      { resourceVersion: metadata.resourceVersion },
      (type, object) => found({ type, name: object.metadata.name }),
      failed,
    );
  }, ({ type, name }) => type === 'ADDED' && name === 'watched');
  await core.createNamespacedConfigMap({ namespace, body: configMap('watched', {}) });
  await seen;
  request.abort();
}

async function informed() {
  const informer = k8s.makeInformer(
    config, `/api/v1/namespaces/${namespace}/configmaps`, () => core.listNamespacedConfigMap({ namespace }),
  );
  const changed = awaited(
    'an update', (found) => informer.on('update', found), (object) => object.data?.color === 'yellow',
  );
  await informer.start();
  assert.ok(informer.get('a', namespace), 'what was there is known');
  await core.patchNamespacedConfigMap(
    { name: 'a', namespace, body: { data: { color: 'yellow' } } },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch),
  );
  await changed;
  await informer.stop();
}

await core.createNamespace({ body: { metadata: { name: namespace } } });
await typedObjects();
await anyObject();
await watched();
await informed();
await core.deleteNamespace({ name: namespace });
process.exit(0);
