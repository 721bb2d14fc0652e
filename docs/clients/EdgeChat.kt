// A client of EdgeChat's API for Android and the JVM, with OkHttp 4 or later. Its functions block: call them on
// Dispatchers.IO. JSON is read with org.json, which Android has.

import java.io.IOException
import java.util.concurrent.TimeUnit
import okhttp3.MediaType.Companion.toMediaType
import okhttp3.MultipartBody
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.RequestBody
import okhttp3.RequestBody.Companion.toRequestBody
import okhttp3.Response
import okio.BufferedSource
import org.json.JSONArray
import org.json.JSONObject

val JSON = "application/json".toMediaType()

data class Pair(val access: String, val refresh: String, val device: String)

// --8<-- [start:errors]
/** An error of the API: `code` is for programs, `message` for people. */
class ApiError(body: JSONObject, val retryAfter: Double = 0.0) : Exception(body.optString("detail", "Unreadable")) {
    val code: String = body.optString("code", "unreadable")
    val context: JSONObject = body.optJSONObject("context") ?: JSONObject()
    val requestId: String = body.optString("request_id")
}

/** The error in a response. What a proxy answers by itself is not JSON. */
fun errorOf(response: Response): ApiError {
    val json = response.header("Content-Type").orEmpty().startsWith("application/json")
    val body = if (json) JSONObject(response.body!!.string()) else JSONObject()
    return ApiError(body, response.header("Retry-After")?.toDoubleOrNull() ?: 0.0)
}
// --8<-- [end:errors]

// --8<-- [start:retry]
const val ATTEMPTS = 5
val SOON = setOf("rate_limited", "too_many_replies", "store_unavailable", "shutting_down", "unreadable")

/** Wait 0.5, 1, 2, 4 s, or as long as the server asks, and a little more so that clients do not come together. */
fun pause(attempt: Int, retryAfter: Double = 0.0) {
    val seconds = maxOf(retryAfter, 0.5 * (1 shl attempt)) * (1 + Math.random() / 4)
    Thread.sleep((1000 * seconds).toLong())
}

/** The result of a request that may be sent again, after faults that pass by themselves. */
fun <T> repeat(send: () -> T): T {
    var attempt = 0
    while (true) {
        try {
            return send()
        } catch (error: ApiError) {
            if (attempt == ATTEMPTS - 1 || error.code !in SOON) throw error
            pause(attempt, error.retryAfter)
        } catch (error: IOException) {
            if (attempt == ATTEMPTS - 1) throw error
            pause(attempt)
        }
        attempt += 1
    }
}
// --8<-- [end:retry]

// --8<-- [start:events]
class Event(val name: String, val id: String?, val data: JSONObject)

/** The events of a stream, each passed to `handle`. */
fun readEvents(source: BufferedSource, handle: (Event) -> Unit) {
    var fields = mutableMapOf<String, String>()
    while (true) {
        val line = source.readUtf8Line() ?: return // ends lines at line feeds only, as it must
        val name = line.substringBefore(": ", "")
        if (name in setOf("event", "id", "data")) {
            fields[name] = line.substringAfter(": ")
        } else if (line.isEmpty() && "data" in fields) {
            handle(Event(fields["event"]!!, fields["id"], JSONObject(fields["data"]!!)))
            fields = mutableMapOf()
        }
    }
}
// --8<-- [end:events]

// --8<-- [start:reply]
/** A reply as far as it was received. `message` is the model's message, final when `ended`. */
class Reply {
    var text = ""
    var message: JSONObject? = null
    var lastId = ""
    var ended = false

    /** Throws ApiError if the reply failed without a text, or can no longer be read. */
    fun apply(event: Event) {
        lastId = event.id ?: lastId
        when (event.name) {
            "message" -> message = event.data.getJSONObject("model_message")
            "delta" -> text += event.data.getString("text")
            "restart" -> text = ""
            "done" -> {
                message = event.data
                text = event.data.getString("content")
                ended = true
            }
            "error" -> {
                ended = event.id != null // without an id, the stream ends, but the reply continues
                throw ApiError(event.data)
            }
        }
    }
}
// --8<-- [end:reply]

// --8<-- [start:store]
/** A device's copy. A real app keeps it in Room. */
class Store {
    var since = 0L
    val conversations = mutableMapOf<String, JSONObject>()
    val messages = mutableMapOf<String, MutableMap<Int, JSONObject>>()
}
// --8<-- [end:store]

class EdgeChat(private val base: String, private var pair: Pair, private val save: (Pair) -> Unit) {
    private val http = OkHttpClient.Builder().readTimeout(150, TimeUnit.SECONDS).build()

    // Nothing for 40 s, not even a ping (one every 15 s), means that the connection is dead.
    private val streaming = http.newBuilder().readTimeout(40, TimeUnit.SECONDS).build()
    private val refreshing = Any()

    // --8<-- [start:login]
    companion object {
        /** `base` ends with `/api/v1/`. `save` stores the pair where it survives the end of the app. */
        fun logIn(base: String, email: String, password: String, device: String = "", save: (Pair) -> Unit): EdgeChat {
            val body = JSONObject().put("email", email).put("password", password)
            body.put("device_name", "A phone").put("device_token", device)
            val pair = repeat { post(OkHttpClient(), base + "auth/login", body) }
            save(pair)
            return EdgeChat(base, pair, save)
        }

        private fun post(http: OkHttpClient, url: String, body: JSONObject): Pair {
            val request = Request.Builder().url(url).post(body.toString().toRequestBody(JSON)).build()
            http.newCall(request).execute().use { response ->
                if (!response.isSuccessful) throw errorOf(response)
                val answer = JSONObject(response.body!!.string())
                val (access, refresh) = listOf("access_token", "refresh_token").map { answer.getString(it) }
                return Pair(access, refresh, answer.optString("device_token"))
            }
        }
    }

    fun logOut() {
        call("POST", "auth/logout")
    }
    // --8<-- [end:login]

    // --8<-- [start:tokens]
    /** Get the next token pair. Of many requests whose token was refused, one refreshes and the others wait for it. */
    private fun refresh(refused: String) {
        synchronized(refreshing) {
            if (pair.access != refused) return
            val body = JSONObject().put("refresh_token", pair.refresh)
            // If the answer is lost, the same call returns the same pair.
            val next = repeat { post(http, base + "auth/refresh", body) }.copy(device = pair.device)
            save(next) // first: a pair that is lost cannot be made again once it was used
            pair = next
        }
    }
    // --8<-- [end:tokens]

    // --8<-- [start:call]
    /**
     * The text of a call's answer. A POST is sent again after a fault only if it has a key: the server then knows that it
     * is the same request.
     */
    fun call(method: String, path: String, body: RequestBody? = null, key: String? = null): String {
        val empty = if (method == "POST" || method == "PUT" || method == "PATCH") "".toRequestBody() else null
        val request = Request.Builder().url(base + path).method(method, body ?: empty)
        if (key != null) request.header("Idempotency-Key", key)
        val send = { authenticated(http, request).use { it.body!!.string() } }
        return if (method == "POST" && key == null) send() else repeat(send)
    }

    /** A successful response. The request is sent a second time if its access token has expired. */
    private fun authenticated(client: OkHttpClient, request: Request.Builder): Response {
        var again = false
        while (true) {
            val token = pair.access
            val response = client.newCall(request.header("Authorization", "Bearer $token").build()).execute()
            if (response.isSuccessful) return response
            val error = response.use { errorOf(it) }
            if (again || error.code != "token_expired") throw error
            refresh(token)
            again = true
        }
    }
    // --8<-- [end:call]

    // --8<-- [start:send]
    /**
     * Send a message and wait for the answer, `{"user_message", "model_message"}`. `key` is a UUID that is stored with the
     * draft before the first attempt. The same key never sends twice.
     */
    fun send(conversation: String, content: String, key: String, attachments: List<String> = listOf()): JSONObject {
        val body = JSONObject().put("content", content).put("client_message_id", key)
        body.put("attachment_ids", JSONArray(attachments))
        val path = "chat/conversations/$conversation/messages"
        return JSONObject(call("POST", path, body.toString().toRequestBody(JSON), key))
    }
    // --8<-- [end:send]

    // --8<-- [start:stream]
    /**
     * Send a message, and pass the reply to `show` each time it has grown, until it has ended. If the connection is lost,
     * the stream continues where it was.
     */
    fun stream(conversation: String, content: String, key: String, show: (Reply) -> Unit) {
        val path = "${base}chat/conversations/$conversation/messages"
        val body = JSONObject().put("content", content).put("client_message_id", key).toString()
        val reply = Reply()
        var failed = 0
        while (!reply.ended) {
            val request = Request.Builder().header("Accept", "text/event-stream")
            val sent = reply.message
            if (sent == null) { // the same key: what arrived earlier is not sent twice
                request.url(path).post(body.toRequestBody(JSON)).header("Idempotency-Key", key)
            } else {
                request.url("$path/${sent.getString("id")}/stream").header("Last-Event-ID", reply.lastId)
            }
            try {
                authenticated(streaming, request).use { response ->
                    readEvents(response.body!!.source()) { event ->
                        reply.apply(event)
                        failed = 0
                        show(reply)
                    }
                }
                if (!reply.ended) throw IOException("The server is restarting") // another process continues the reply
            } catch (error: ApiError) {
                failed += 1
                if (reply.ended || failed == ATTEMPTS || error.code !in SOON) throw error
                pause(failed - 1, error.retryAfter)
            } catch (error: IOException) {
                failed += 1
                if (failed == ATTEMPTS) throw error
                pause(failed - 1)
            }
        }
    }

    /** Stop a reply; its text is kept. Closing the stream does not stop it. */
    fun stop(conversation: String, message: String) =
        JSONObject(call("POST", "chat/conversations/$conversation/messages/$message/stop"))
    // --8<-- [end:stream]

    // --8<-- [start:sync]
    /** Bring a device's copy up to date. Can be interrupted at any point and called again. */
    fun sync(store: Store) {
        do {
            val page = JSONObject(call("GET", "chat/changes?since=${store.since}"))
            for (conversation in objects(page, "conversations")) {
                store.conversations[conversation.getString("id")] = conversation
                syncMessages(conversation.getString("id"), store)
            }
            val deleted = page.getJSONArray("deleted")
            for (index in 0 until deleted.length()) {
                store.conversations.remove(deleted.getString(index))
                store.messages.remove(deleted.getString(index))
            }
            store.since = page.getLong("next_since") // last: an interrupted page comes again
        } while (page.getBoolean("has_more"))
    }

    /** Messages are appended, and only the last exchange is ever answered again: read from there. */
    private fun syncMessages(conversation: String, store: Store) {
        val known = store.messages.getOrPut(conversation) { mutableMapOf() }
        var after = maxOf(0, (known.keys.maxOrNull() ?: 0) - 2)
        do {
            val page = JSONObject(call("GET", "chat/conversations/$conversation/messages?after=$after&limit=100"))
            for (message in objects(page, "messages")) {
                after = message.getInt("seq")
                known[after] = message
            }
        } while (page.getBoolean("has_more"))
    }

    private fun objects(page: JSONObject, name: String): List<JSONObject> {
        val array = page.getJSONArray(name)
        return (0 until array.length()).map { array.getJSONObject(it) }
    }
    // --8<-- [end:sync]

    // --8<-- [start:upload]
    /** Upload a picture and return its id. It is deleted after 24 hours unless a message uses it. */
    fun upload(name: String, picture: ByteArray, key: String): String {
        val file = picture.toRequestBody("application/octet-stream".toMediaType())
        val form = MultipartBody.Builder().setType(MultipartBody.FORM).addFormDataPart("file", name, file).build()
        return JSONObject(call("POST", "chat/attachments", form, key)).getString("id")
    }
    // --8<-- [end:upload]
}
