// What the client guide says, done with its Kotlin file: each step prints a line.

import java.util.UUID
import org.json.JSONObject

fun main(arguments: Array<String>) {
    val (base, email, password, picture) = arguments
    val newKey = { UUID.randomUUID().toString() }
    val pairs = mutableListOf<Pair>()
    val chat = EdgeChat.logIn(base, email, password) { pairs.add(it) }
    val id = JSONObject(chat.call("POST", "chat/conversations", key = newKey())).getString("id")
    val key = newKey()
    for (attempt in 1..2) println(chat.send(id, "Hello", key).getJSONObject("model_message").getString("content"))
    val texts = mutableListOf<String>()
    chat.stream(id, "[[chunks=3]][[gap=0.1]] one two three", newKey()) { texts.add(it.text) }
    println("${texts.size > 2} ${texts.last()}")
    val image = chat.upload("picture.png", java.io.File(picture).readBytes(), newKey())
    println(chat.send(id, "With a picture", newKey(), listOf(image)).getJSONObject("model_message").getString("status"))
    try {
        chat.call("GET", "chat/conversations/unknown")
    } catch (error: ApiError) {
        println(error.code)
    }
    val store = Store()
    chat.sync(store)
    println(store.messages.getValue(id).values.map { it.getInt("seq") })
    chat.logOut()
    try {
        chat.call("GET", "users/me")
    } catch (error: ApiError) {
        println("${error.code} ${pairs.size}")
    }
}
